import com.google.inject.Injector;
import java.io.FileInputStream;
import java.util.Properties;
import org.apache.druid.guice.StartupInjectorBuilder;

/** Runs one Druid role with properties read from files instead of the class path: DruidRole Cli-class file... */
public class DruidRole {
  public static void main(String[] args) throws Exception {
    final Properties p = new Properties();
    for (int i = 1; i < args.length; i++) {
      try (FileInputStream in = new FileInputStream(args[i])) {
        p.load(in);
      }
    }
    final Injector injector = new StartupInjectorBuilder().withProperties(p).withExtensions().build();
    final Runnable role = (Runnable) Class.forName("org.apache.druid.cli." + args[0]).getDeclaredConstructor().newInstance();
    injector.injectMembers(role);
    role.run();
  }
}
